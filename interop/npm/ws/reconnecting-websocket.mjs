import Library from 'reconnecting-websocket'
import WS from 'ws'
import { listenOn, protocols } from './standard.mjs'

const ReconnectingWebSocket = Library.default ?? Library

export const open = (url, token, report) =>
  listenOn((next) => new ReconnectingWebSocket(next, protocols(token), { WebSocket: WS }), url, report)
