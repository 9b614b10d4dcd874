import { EventSourcePolyfill } from 'event-source-polyfill'
import { listen } from './standard.mjs'

export const open = (url, _token, report) => listen(new EventSourcePolyfill(url), report)
