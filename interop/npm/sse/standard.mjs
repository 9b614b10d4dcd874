// What the standard's EventSource offers, for all libraries that have its interface.

const CLOSED = 2

export function listen(source, report) {
  source.onopen = () => report.open()
  source.onmessage = ({ data, lastEventId }) => report.message(data, lastEventId)
  source.onerror = (event) => {
    report.error(event?.message ?? event?.error ?? 'error')
    if (source.readyState === CLOSED) report.end('closed')
  }
}
