import { stream } from 'fetch-event-stream'

export async function open(url, _token, report) {
  try {
    const messages = await stream(url)
    report.open()
    for await (const { data, id } of messages) report.message(data, id)
    report.end('end of the stream')
  } catch (error) {
    report.end(error instanceof Response ? `status ${error.status}` : String(error))
  }
}
