import websocket from 'websocket'
import { protocols } from './standard.mjs'

export function open(url, token, report) {
  const client = new websocket.client()
  client.on('connectFailed', (error) => report.end(error.message))
  client.on('connect', (connection) => {
    report.open()
    connection.on('message', ({ utf8Data }) => report.message(utf8Data))
    connection.on('error', (error) => report.error(error))
    connection.on('close', (code, reason) => report.end(reason, code))
  })
  client.connect(url, protocols(token))
}
