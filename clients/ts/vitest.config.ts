import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const source = (name: string): string => fileURLToPath(new URL(`./src/${name}.ts`, import.meta.url))
const alias = [
  { find: /^@throughline\/client$/, replacement: source('index') },
  {
    find: /^@throughline\/client\/(react|components|query|testing)$/,
    replacement: fileURLToPath(new URL('./src/$1.ts', import.meta.url)),
  },
]

export default defineConfig({
  resolve: { alias },
  test: {
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/**/*.test.{ts,tsx}'], exclude: ['test/gateway/**'] } },
      {
        extends: true,
        test: { name: 'gateway', include: ['test/gateway/**/*.test.ts'], testTimeout: 60_000, fileParallelism: false },
      },
    ],
  },
})
