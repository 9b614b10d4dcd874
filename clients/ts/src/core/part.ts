import { result, unheard } from './commands.js'

/**
 * A part that is loaded when it is first asked for, and again where that has failed.
 * @throws CommandError
 */
export function part<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | undefined
  return () => {
    loading ??= load().catch((error) => {
      loading = undefined
      return result(unheard(`${error}`)) as T
    })
    return loading
  }
}
