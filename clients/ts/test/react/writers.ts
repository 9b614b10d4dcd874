import { type Batch, type Client, CommandError, type Reset, type ThroughlineEvent } from '@throughline/client'
import { type DocumentView, openDocument } from '../../src/react/document.js'
import type { Operation } from '../../src/react/operations.js'

const PAGE = 3
const TOPIC = 'room:1'

function apply(text: string, operation: Operation): string {
  const { position } = operation as { position: number }
  if (operation.type === 'insert') return text.slice(0, position) + operation.content + text.slice(position)
  return text.slice(0, position) + text.slice(position + (operation as { length: number }).length)
}

/** One topic of a log, as the gateway keeps it, and the text that a backend makes of it. */
export class Library {
  epoch = 1
  text = ''
  /** The text at the beginning of this epoch. */
  first = ''
  attempts = 0
  /** What happens to the next publish. */
  cut: 'cut before' | 'cut after' | null = null
  /** The code with which every publish is refused. */
  refusal: string | null = null
  /** The seq at which history stands still, as at a gateway that is behind the others. */
  behind: number | null = null
  events: ThroughlineEvent[] = []
  readonly writers = new Set<Writer>()
  private seq = 0
  /** What the topic is believed to end with; 0: forgotten. */
  private last = 0
  private floor = 0
  private readonly published = new Map<string, number>()

  get tail(): string {
    return `${this.epoch}.${this.seq}`
  }

  publish(type: string, data: unknown, { expect, eventId }: { expect?: number; eventId?: string }): { seq: number } {
    this.attempts += 1
    const { cut, refusal } = this
    this.cut = null
    if (refusal) throw new CommandError({ code: refusal, message: 'no' })
    if (cut === 'cut before') throw new CommandError({ code: 'unavailable', message: 'lost' })
    const seq = this.published.get(`${eventId}`) ?? this.append(type, data, expect, eventId)
    if (cut) throw new CommandError({ code: 'unavailable', message: 'lost' })
    return { seq }
  }

  /** Appends an event without conditions. */
  chat(): void {
    this.append('room_message', 'hi', undefined, undefined)
  }

  private append(type: string, data: unknown, expect: number | undefined, id: string | undefined): number {
    if (expect !== undefined && expect !== this.last)
      throw new CommandError({ code: 'conflict', message: 'somebody was faster', seq: this.last })
    this.seq += 1
    this.last = this.seq
    this.events.push({ seq: this.seq, topic: TOPIC, type, time: '', data, ...(id && { id }) })
    if (id) this.published.set(id, this.seq)
    if (type === 'collaboration_update') this.text = apply(this.text, (data as { operation: Operation }).operation)
    return this.seq
  }

  /** Every event of this epoch is retained. */
  get isWhole(): boolean {
    return this.floor === 0
  }

  /** What `GET /v1/history` answers. */
  history(after: string): Batch {
    const { behind } = this
    const batch = this.since(after)
    if (behind === null) return batch
    if (Number(after.split('.')[1]) > behind) throw new CommandError({ code: 'unavailable', message: 'behind' })
    const events = batch.events.filter(({ seq = 0 }) => seq <= behind)
    return { ...batch, events, cursor: `${this.epoch}.${behind}`, more: false }
  }

  /** Everything that is retained after a cursor, one page of it. */
  since(after: string): Batch {
    const [epoch, from] = after === 'earliest' ? [this.epoch, this.floor] : after.split('.').map(Number)
    const place = epoch === this.epoch ? Number(from) : this.floor
    const reason: Reset['reason'] | undefined =
      epoch !== this.epoch ? 'epoch' : place < this.floor ? 'expired' : undefined
    const waiting = this.events.filter(({ seq = 0 }) => seq > place)
    const events = waiting.slice(0, PAGE)
    const more = waiting.length > PAGE
    return {
      after,
      cursor: more ? `${this.epoch}.${events.at(-1)?.seq}` : this.tail,
      events,
      ...(more && { more }),
      ...(reason && { reset: { reason, topics: [TOPIC], refetch_after_ms: 0 } }),
    }
  }

  /** The first `keep` of the retained events go. */
  trim(keep: number): void {
    this.floor = this.events.at(-1 - keep)?.seq ?? this.floor
    this.events = this.events.filter(({ seq = 0 }) => seq > this.floor)
  }

  /** From now on history stands still. */
  fallBehind(): void {
    this.behind ??= this.seq
  }

  /** As after an hour of silence. */
  forget(): void {
    this.trim(0)
    this.last = 0
  }

  /** Without a disk: history is lost, and numbers begin anew. */
  restart(): void {
    this.epoch += 1
    this.behind = null
    this.first = this.text
    this.events = []
    this.published.clear()
    this.seq = 0
    this.last = 0
    this.floor = 0
  }
}

/** Someone who types into a copy of the text. */
export class Writer {
  text = ''
  view: DocumentView = { operations: [], cursors: {}, pendingCount: 0, error: null }
  private document: ReturnType<typeof openDocument> | undefined
  /** The cursor of the stream, once it has the topic. */
  private cursor: string | null = null
  private take: ((event: ThroughlineEvent) => void) | null = null
  private reset: ((reset: Reset) => void) | null = null
  private readonly client: Client

  constructor(
    private readonly library: Library,
    readonly name: string,
  ) {
    const topic = {
      publish: async (type: string, data: unknown, more: object) => library.publish(type, data, more),
      since: async (after: string) => library.history(after),
      cast: async () => {},
      onAny: (take: (event: ThroughlineEvent) => void) => {
        this.take = take
        return () => {
          this.take = null
        }
      },
      onReset: (reset: (reset: Reset) => void) => {
        this.reset = reset
        return () => {
          this.reset = null
        }
      },
    }
    const writer = this
    this.client = {
      hello: { user: name },
      topic: () => topic,
      state: {
        get cursor() {
          return writer.cursor ?? library.tail
        },
      },
    } as unknown as Client
    this.enter()
  }

  /**
   * Opens the document anew: from the text of before the first operation, or from the one of now.
   */
  enter(withText = false): void {
    this.document?.close()
    this.text = withText ? this.library.text : this.library.first
    this.view = { operations: [], cursors: {}, pendingCount: 0, error: null }
    let applied = this.view.operations
    this.document = openDocument(
      this.client,
      TOPIC,
      (change) => {
        const before = this.view.operations
        this.view = change(this.view)
        if (this.view.operations === before) return
        for (const operation of this.view.operations) this.text = apply(this.text, operation)
        applied = this.view.operations
      },
      () => applied,
      withText ? this.library.tail : undefined,
    )
    this.cursor = null
    this.document.open()
  }

  /** Closes and opens the same document, as StrictMode does. */
  blink(): void {
    this.document?.close()
    this.document?.open()
  }

  /** As an application does that is told to. @returns whether it was. */
  reload(): boolean {
    const { error } = this.view
    if (error) this.enter(true)
    return error !== null
  }

  /** The gateway begins to stream the topic, later than it was asked to. */
  subscribe(): boolean {
    const begins = this.cursor === null
    this.cursor ??= this.library.tail
    return begins
  }

  edit(at: number, size: number, inserts: boolean): void {
    const position = Math.floor(at * (this.text.length + 1))
    if (inserts) this.type(position, this.name.repeat(size))
    else this.send({ type: 'delete', position, length: Math.min(size, this.text.length - position) })
  }

  type(position: number, content: string): void {
    this.send({ type: 'insert', position, content })
  }

  private send(operation: Operation): void {
    if (this.view.error) return
    this.text = apply(this.text, operation)
    this.document?.send(operation)
  }

  /** The next event of the stream arrives, or word of a reset. @returns whether there was one. */
  hear(): boolean {
    if (this.cursor === null) return false
    const { events, reset } = this.library.since(this.cursor)
    const [event] = events
    if (!event && !reset) {
      this.cursor = this.library.tail
      return false
    }
    if (reset) this.reset?.(reset)
    this.cursor = event ? `${this.library.epoch}.${event.seq}` : this.library.tail
    if (event) this.take?.(event)
    return true
  }
}
