import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, constants, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

/** Something that tests need beside Node.js: a browser, a server. */
export interface Need {
  name: string
  /** The environment variable that names its program. */
  variable: string
  /** Where it may be if the variable is not set, best first. */
  candidates (): Promise<string[]>
  /** Tells a program that works from a leftover or a placeholder. */
  versionArgs: string[]
  /** The Debian package that has it. */
  debianPackage: string
  /** Whether tests do less where it is not here, instead of failing. */
  isOptional?: boolean
  /** How a person gets it, as sentences. */
  advice: string
  /** The environment variables that tests find it by. */
  provides: string[]
  /** Starts it where it is a server, and says what tests find in their environment. */
  start (program: string): Promise<Started>
}

export interface Started {
  env: Record<string, string>
  stop (): Promise<void>
}

/**
 * Finds a need, installs it where that is possible, and starts it.
 * @throws Error that names the ways to get it
 */
export async function satisfy (need: Need): Promise<Started> {
  const given = process.env[need.variable]
  if (given) {
    // no other is taken instead: whoever sets it wants this one
    if (!await works(given, need.versionArgs)) throw new Error(`${need.variable} is ${given}, which does not run. ${need.advice}`)
    return await need.start(given)
  }
  const found = await find(need) ?? (await isRootOnDebian() ? await install(need) : undefined)
  if (found === undefined && need.isOptional) {
    console.log(`${need.name} is not here: some tests do less. ${need.advice}`)
    return { env: {}, stop: async () => {} }
  }
  if (found === undefined) throw new Error(`The tests need ${need.name}, which is not here. ${need.advice}`)
  return await need.start(found)
}

async function find (need: Need): Promise<string | undefined> {
  for (const program of await need.candidates()) {
    if (await works(program, need.versionArgs)) return program
  }
}

async function install (need: Need): Promise<string | undefined> {
  console.log(`installing ${need.name} (apt-get install ${need.debianPackage})`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  try {
    await run('apt-get', ['update', '-qq'], env)
    await run('apt-get', ['install', '-qq', '-y', '--no-install-recommends', need.debianPackage], env)
  } catch (error) {
    if (!need.isOptional) throw error
  }
  return await find(need)
}

async function isRootOnDebian (): Promise<boolean> {
  if (process.getuid?.() !== 0) return false
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '') // not there: not Debian
  return /^ID(_LIKE)?=.*debian/m.test(release)
}

/** The programs of these names on the PATH. */
export async function onPath (...names: string[]): Promise<string[]> {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '')
  const programs = names.flatMap((name) => folders.map((folder) => join(folder, name)))
  const isThere = await Promise.all(programs.map((program) => access(program, constants.X_OK).then(() => true, () => false)))
  return programs.filter((_, index) => isThere[index])
}

async function works (program: string, args: string[]): Promise<boolean> {
  const child = spawn(program, args, { stdio: 'ignore', timeout: 60_000 })
  return await once(child, 'exit').then(([code]) => code === 0, () => false)
}

async function run (command: string, args: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed with ${code}`)
}
