// What the standard's WebSocket offers, for all libraries that have its interface.

export const protocols = (token) => ['throughline.v1', `bearer.${token}`]

export function listen(socket, report) {
  socket.onopen = () => report.open()
  socket.onmessage = ({ data }) => report.message(data)
  socket.onerror = (event) => report.error(event?.message ?? 'error')
  socket.onclose = ({ code, reason }) => report.end(reason, code)
}

/** For a library that connects again by itself: makes its URL from the cursor of the last batch. */
export function listenOn(open, url, report) {
  let cursor = null
  const next = () => {
    if (!cursor) return url
    const [path, query = ''] = url.split('?')
    const others = query.split('&').filter((part) => part && !part.startsWith('after='))
    return `${path}?${[...others, `after=${cursor}`].join('&')}`
  }
  const socket = open(next)
  socket.onopen = () => report.open()
  socket.onmessage = ({ data }) => {
    cursor = JSON.parse(data).cursor ?? cursor
    report.message(data)
  }
  socket.onerror = (event) => report.error(event?.message ?? 'error')
  socket.onclose = ({ code, reason }) => report.error(`close ${code} ${reason}`)
}
