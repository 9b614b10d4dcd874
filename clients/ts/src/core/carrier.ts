import type { Link } from './link.js'
import type { Hello, Reply } from './protocol.js'
import type { Chain } from './session.js'

/** What runs for one of the ladder's links. */
export interface Carrier {
  readonly link: Link
  hello?: Hello
  readonly chain: Chain
  /**
   * What the link was opened with, and since then what the gateway has agreed to; refused ones may
   * be among them.
   */
  topics: readonly string[]
  /** Commands without a reply yet, by id. */
  readonly waiting: Map<string, (reply: Reply) => void>
}
