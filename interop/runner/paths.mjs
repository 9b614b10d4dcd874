// Where things are.

import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
/** The sources of the drivers. */
export const sources = join(root, 'interop')
/** What `interop/install` has built. */
export const built = join(root, 'target/interop')
