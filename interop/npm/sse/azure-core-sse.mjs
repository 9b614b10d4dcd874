import { createSseStream } from '@azure/core-sse'

export async function open(url, _token, report) {
  try {
    const response = await fetch(url, { headers: { accept: 'text/event-stream' } })
    report.open()
    for await (const { data, id } of createSseStream(response.body)) report.message(data, id)
    report.end('end of the stream')
  } catch (error) {
    report.end(String(error))
  }
}
