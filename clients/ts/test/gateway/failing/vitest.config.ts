import { defineConfig } from 'vitest/config'
import shared from '../../../vitest.config.js'

/** Tests that fail on purpose. `processes.test.ts` runs them. */
export default defineConfig({
  resolve: shared.resolve,
  test: { include: ['test/gateway/failing/*.failing.ts'], testTimeout: 1000, hookTimeout: 600_000 },
})
