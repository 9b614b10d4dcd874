import { minify } from 'terser'

/**
 * Members that nothing outside of the core sees: not part of the API, of the protocol, or of an object of the
 * runtime. Their names are shortened in the build. `test/mangle.test.ts` holds the list to that.
 */
export const INTERNAL = `
  begin blockedUntil block canRefresh chain changed climbing closeAt command deliver dispatch drain emit ended expected failedAt
  firstAt flaky follows forget graceFrom greeted hear heard heardAt heartbeatMs history http judge kind ladder lastClose
  lasting  leaving metDeployment newSession nextAt openedAt pingAt plan provenAt queue receive refreshToken reopen retryAt
  rungs standing startedAt step strikes suspect syncTopics take upgraded waiting waitMs wakeAt wanted weight writer
`
  .trim()
  .split(/\s+/)

/** A build plugin that shortens the names of internal members and minifies the core. */
export function mangle() {
  const regex = new RegExp(`^(${INTERNAL.join('|')})$`)
  return {
    name: 'mangle',
    async renderChunk(code: string, chunk: { fileName: string }) {
      if (!/^(index|react|components|query|(document|tabs)-[^.]*)\.c?js$/.test(chunk.fileName)) return null
      const properties = chunk.fileName.startsWith('index') ? { regex, builtins: true } : false
      const { code: short = '', map } = await minify(code, {
        module: chunk.fileName.endsWith('.js'),
        ecma: 2020,
        compress: { passes: 3, pure_getters: true, unsafe: true, unsafe_arrows: true, directives: false },
        mangle: { properties },
        sourceMap: { asObject: true },
      })
      return { code: short, map: map as never }
    },
  }
}
