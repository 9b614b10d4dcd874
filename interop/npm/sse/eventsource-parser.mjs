import { EventSourceParserStream } from 'eventsource-parser/stream'

export async function open(url, _token, report) {
  try {
    const response = await fetch(url, { headers: { accept: 'text/event-stream' } })
    report.open()
    const messages = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
    for await (const { data, id } of messages) report.message(data, id)
    report.end('end of the stream')
  } catch (error) {
    report.end(String(error))
  }
}
