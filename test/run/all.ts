import t from 'tap'

/*
 * Runs test files, each in a process of its own, as one TAP document on stdout; stderr says what is done. The command
 * `tap run` would load hooks for modules, for mocks and coverage, into every process that a test starts: there are
 * hundreds, and each took three times as long to start.
 */
t.jobs = 3 // on two cores: many tests mostly wait
t.setTimeout(0) // run.ts ends what hangs
const timeout = 240 // seconds of a file: each fault test may take 60 s on a busy machine
const env = { ...process.env, TAP_TIMEOUT: String(timeout) }

for (const file of process.argv.slice(2)) {
  void t.spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, file], { buffered: true, timeout: timeout * 1000, env }, file).then((results) => {
    console.error(`${results?.ok === true ? 'ok    ' : 'FAILED'} ${((results?.time ?? 0) / 1000).toFixed(0).padStart(4)} s  ${file}`)
  })
}
