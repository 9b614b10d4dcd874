import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// The package as its users get it, or its sources: `BUILT=1` after `npm run build` tests what is
// shipped.
const [folder, ending] = process.env.BUILT ? ['dist', 'js'] : ['src', 'ts']
const entry = (name: string): string => fileURLToPath(new URL(`./${folder}/${name}.${ending}`, import.meta.url))
const alias = [
  { find: /^@throughline\/client$/, replacement: entry('index') },
  { find: /^@throughline\/client\/(react|components|query|testing)$/, replacement: entry('$1') },
]

export default defineConfig({
  resolve: { alias },
  test: {
    // A test that hangs is a failure; one that is slow on a busy machine is not.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.{ts,tsx}'],
          exclude: ['test/gateway/**'],
          setupFiles: ['test/setup.ts'],
        },
      },
      {
        extends: true,
        test: { name: 'gateway', include: ['test/gateway/**/*.test.ts'], fileParallelism: false },
      },
    ],
  },
})
