import { defineConfig } from 'tsdown'
import { mangle } from './mangle.js'

export default defineConfig({
  entry: ['index', 'react', 'components', 'query', 'testing'].map((name) => `src/${name}.ts`),
  format: ['esm', 'cjs'],
  dts: true,
  platform: 'neutral',
  target: 'es2022',
  clean: true,
  sourcemap: true,
  plugins: [mangle()],
  outputOptions: { exports: 'named' },
  // The entries name each other by package name, so each of them ships once and contexts are
  // shared.
  external: [/^@throughline\/client/, /^react/, /^@tanstack\//],
})
