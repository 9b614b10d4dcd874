// `onclose-throws`: a clean end is an error, so that the library asks again.
import { fetchEventSource } from '@microsoft/fetch-event-source'

// The library is for browsers: it follows the page's visibility.
globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} }
globalThis.window ??= globalThis

export function open(url, _token, report, words) {
  const source = fetchEventSource(url, {
    onmessage: ({ data, id }) => report.message(data, id),
    onclose() {
      if (words.includes('onclose-throws')) throw new Error('closed')
    },
    onerror(error) {
      // What this function returns is the time until the next attempt.
      report.error(error)
    },
  })
  source.then(
    () => report.end('resolved'),
    (error) => report.end(`rejected: ${error}`),
  )
}
