import { transform } from 'esbuild'

/**
 * Members that nothing outside of the core sees: not part of the API, of the protocol, or of an object of the
 * runtime. Their names are shortened in the build. `test/mangle.test.ts` holds the list to that.
 */
export const INTERNAL = `
  announce announceAll ask away base blockedUntil ceiling chain changed changes chain climb closeAt command commandId
  dirty dispatch drain drop due emitter ended everProven everStarted expected factor fail failedAt fair firstAt
  flaky flight follows forget forgotten gone graceFrom greeted hear heard heardAt heartbeatMs hiddenAt history holders host
  http inbox interest judge kept kind ladder lastClose lastReason lastReset lastSeq latest leaving listeners measure
  memory metDeployment newSession nextAt openedAt pad params pass pingAt pingedAt plan post present provenAt queue race
  receive refreshToken regained releaseTimer renewToken reopen resets resumedAt retryAt roundStable roundWaitMs running
  rungs schedule score second sessionId settle settled settledOn shown slept snapshot standing startRace startedAt
  stepping strikes suspect syncLinkTopics syncTopics syncing take tell timerAt tokenRefused tokenTurnedDown tokens
  tries unlisten upgraded upgrades wakeAt want wanted waitMs watch weight wokenAt worked writer
`
  .trim()
  .split(/\s+/)

/** A build plugin that shortens the names of internal members and minifies. */
export function mangle() {
  const mangleProps = new RegExp(`^(${INTERNAL.join('|')})$`)
  return {
    name: 'mangle',
    async renderChunk(code: string, chunk: { fileName: string }) {
      if (!/^index\.c?js$/.test(chunk.fileName)) return null
      const options = { mangleProps, minify: true, target: 'es2022', sourcemap: true } as const
      const { code: short, map } = await transform(code, options)
      return { code: short, map }
    },
  }
}
