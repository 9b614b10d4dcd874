import { createEventSource } from 'eventsource-client'

export const open = (url, _token, report) =>
  createEventSource({
    url,
    onConnect: () => report.open(),
    onMessage: ({ data, id }) => report.message(data, id),
    onDisconnect: () => report.error('disconnected'),
  })
