import { WebSocket } from 'undici'
import { listen, protocols } from './standard.mjs'

export const open = (url, token, report) => listen(new WebSocket(url, protocols(token)), report)
