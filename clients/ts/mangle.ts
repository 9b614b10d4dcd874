import { minify_sync } from 'terser'

/**
 * Members that nothing outside of the core sees: not part of the API, of the protocol, or of an
 * object of the runtime. Their names are shortened in the build. `test/mangle.test.ts` holds the
 * list to that.
 */
export const INTERNAL = `
  address adopt again asked askedAt base begin blockedUntil cancel canRefresh carrier chain changed climbing closeAt
  closed command connectMs current deliver differs dispatch doubts drain drained effects ended excuse expected explain
  failedAt fault firstAt flaky follows forget free graceFrom greeted group hand hear heard heardAt hearDrained
  hearLead heartbeatMs history identifiedAt identity init isBatch judge keep kind ladder lapse lastClose lasting late
  leader leading leave leaving led lend life link links load loaded look measure meet memory metDeployment nextAt
  openedAt opener owes ping pingAt plan post proven provenAt quarantine queue receive refuse rejoin rename renew
  renewToken reopen replies replyMs report result retained retryAt roster run rung rungs second serve settled standing
  start started startedAt step stop strikes suspect sync take tell tokens told unheard upgraded view waitAgain waiting
  waitMs wakeAt want wanted watched weight whose wishes withheldAt writer
`
  .trim()
  .split(/\s+/)

/** A build plugin that shortens the names of internal members and minifies what it shortens. */
export function mangle() {
  const regex = new RegExp(`^(${INTERNAL.join('|')})$`)
  // The core's chunks share objects, so one name has to become the same everywhere.
  const nameCache = {}
  return {
    name: 'mangle',
    renderChunk(code: string, chunk: { fileName: string }) {
      const [, name] =
        /^(index|tabs|lazy|react|components|query|document|rooms|follow)(?:-[^.]*)?\.c?js$/.exec(chunk.fileName) ?? []
      // A part of another name would be loaded with the core and not be counted.
      if (!name && !/^testing\.c?js$|\.d\.c?ts$/.test(chunk.fileName)) throw new Error(`unknown part ${chunk.fileName}`)
      if (!name) return null
      const core = ['index', 'tabs', 'lazy'].includes(name)
      // One word for all declarations compresses better than two.
      const { code: short = '', map } = minify_sync(code.replace(/\bconst (?=[\w${[]+)/g, 'let   '), {
        module: chunk.fileName.endsWith('.js'),
        ecma: 2020,
        compress: {
          passes: 2,
          inline: 1,
          pure_getters: true,
          unsafe: true,
          unsafe_arrows: true,
          unsafe_undefined: true,
          directives: false,
        },
        mangle: { properties: core && { regex, builtins: true } },
        nameCache: core ? nameCache : {},
        sourceMap: { asObject: true },
      })
      return { code: short, map: map as never }
    },
  }
}
