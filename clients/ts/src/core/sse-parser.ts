/** An event larger than this is not from a gateway. */
const BUFFER_MAX = 4 * 1024 * 1024

/**
 * Reads server-sent events (WHATWG HTML, section 9.2.6) from text that comes in any pieces.
 * @param onData hears the data of each event; other fields carry nothing that the data does not.
 * @returns takes the next piece. @throws when an event does not end.
 */
export function sseParser(onData: (data: string) => void): (text: string) => void {
  let rest = ''
  let data = ''
  return (text) => {
    rest += text
    // A carriage return at the very end may be half of a line ending.
    const lines = rest.split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (data) onData(data.slice(1))
        data = ''
      } else if (line.startsWith('data:')) data += `\n${line.slice(line[5] === ' ' ? 6 : 5)}`
    }
    if (rest.length + data.length > BUFFER_MAX) throw new Error('an event without end')
  }
}
