import { CommandError } from '@throughline/client'

/** The first wait before a request is repeated. */
export const RETRY_MS = 1000
const RETRY_MAX_MS = 30_000
/** Refusals that another attempt can change. Every other error code is final. */
const PASSING = ['unavailable', 'rate_limited', 'unauthenticated']

/** Whether a request that failed may succeed when it is repeated. */
export const isPassing = (error: unknown): boolean => !(error instanceof CommandError) || PASSING.includes(error.code)

/** Twice as long each time, in milliseconds. */
export const backoff = (tries: number): number => Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** tries)

/** How long to wait before a request is repeated, in milliseconds. */
export const retryDelay = (error: unknown, tries = 0): number => (error as CommandError).retryAfterMs ?? backoff(tries)

/** Waits. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
