import { EventSourcePlus } from 'event-source-plus'

export const open = (url, _token, report) =>
  new EventSourcePlus(url).listen({
    onResponse: () => report.open(),
    onMessage: ({ data, id }) => report.message(data, id),
    onRequestError: ({ error }) => report.error(error),
    onResponseError: ({ response }) => report.error(response.status),
  })
