import { WebSocket } from 'partysocket'
import WS from 'ws'
import { listenOn, protocols } from './standard.mjs'

export const open = (url, token, report) =>
  listenOn((next) => new WebSocket(next, () => protocols(token), { WebSocket: WS }), url, report)
