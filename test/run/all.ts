import t from 'tap'
import { bothVersions } from './both-versions.js'

/*
 * Runs test files, each in a process of its own, as one TAP document on stdout; stderr says what is done. The command
 * `tap run` would load hooks for modules, for mocks and coverage, into every process that a test starts: there are
 * hundreds, and each took three times as long to start.
 */
t.jobs = 3 // on two cores: many tests mostly wait
t.setTimeout(0) // run.ts ends what hangs
const timeout = 600 // seconds of a file, to end what hangs: some compile for minutes where the machine is busy
const env = { ...process.env, TAP_TIMEOUT: String(timeout) }

const files = process.argv.slice(2)
for (const file of files) run(file, file, env)
for (const file of bothVersions) if (files.includes(file)) run(file, `${file} with version 2`, { ...env, DATASOLE_TEST_PROTOCOL: 'datasole.v2' })

function run (file: string, name: string, env: NodeJS.ProcessEnv): void {
  void t.spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, file], { buffered: true, timeout: timeout * 1000, env }, name).then((results) => {
    console.error(`${results?.ok === true ? 'ok    ' : 'FAILED'} ${((results?.time ?? 0) / 1000).toFixed(0).padStart(4)} s  ${name}`)
  })
}
