import { minify_sync } from 'terser'

/**
 * Members that nothing outside of the core sees: not part of the API, of the protocol, or of an object of the
 * runtime. Their names are shortened in the build. `test/mangle.test.ts` holds the list to that.
 */
export const INTERNAL = `
  address adopt again asked base begin blockedUntil canRefresh cancel carrier chain changed climbing closeAt closed command
  connectMs current deliver dispatch doubts drain drained effects ended expected failedAt firstAt flaky follows forget
  graceFrom greeted hear heard hold late heardAt heartbeatMs history http inUse init judge keep kind implied ladder lapse lastClose
  lasting leaving link links memory metDeployment nextAt openedAt owes ping pingAt plan proven provenAt
  quarantine queue receive renew reopen replyMs requests report result retryAt rung rungs second settled standing start started
  startedAt step stop strikes suspect sync take tell tokens told upgraded view waitMs waiting
  wakeAt want watched weight withheldAt writer
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
        /^(index|tabs|requests|upkeep|fallback|react|components|query|document|rooms)(?:-[^.]*)?\.c?js$/.exec(
          chunk.fileName,
        ) ?? []
      if (!name) return null
      const core = ['index', 'tabs', 'requests', 'upkeep', 'fallback'].includes(name)
      // One word for all declarations compresses better than two.
      const { code: short = '', map } = minify_sync(code.replace(/\bconst (?=[\w${[]+)/g, 'let   '), {
        module: chunk.fileName.endsWith('.js'),
        ecma: 2020,
        compress: {
          passes: 3,
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
