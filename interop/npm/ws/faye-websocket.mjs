import faye from 'faye-websocket'
import { listen, protocols } from './standard.mjs'

export const open = (url, token, report) => listen(new faye.Client(url, protocols(token)), report)
