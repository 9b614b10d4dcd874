import { act, render } from '@testing-library/react'
import { type Client, type ClientOptions, createClient } from '@throughline/client'
import { ThroughlineProvider } from '@throughline/client/react'
import { FakeServer } from '@throughline/client/testing'
import { type ReactNode, StrictMode } from 'react'
import { vi } from 'vitest'

/** A page with a provider whose client talks to a fake server, on timers that the test moves. */
export class Page {
  readonly server = new FakeServer()
  readonly client: Client

  constructor(options: ClientOptions = {}) {
    vi.useFakeTimers()
    this.client = createClient({ ...options, env: this.server.env })
  }

  show(children: ReactNode, strict = false) {
    const tree = <ThroughlineProvider client={this.client}>{children}</ThroughlineProvider>
    return render(strict ? <StrictMode>{tree}</StrictMode> : tree)
  }

  async advance(ms: number): Promise<void> {
    await act(async () => {
      for (let left = ms; left > 0; left -= 50) {
        const step = Math.min(50, left)
        await vi.advanceTimersByTimeAsync(step)
        await this.server.clock.advance(step)
      }
    })
  }

  async publish(topic: string, type: string, data: unknown): Promise<void> {
    this.server.publish(topic, type, data)
    await this.advance(100)
  }
}
