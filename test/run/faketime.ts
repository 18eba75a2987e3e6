import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { type Need, onPath } from './need.js'

/** Gives servers of tests a wall clock of the test's; tests find the library in `LIBFAKETIME`. */
export const faketime: Need = {
  name: 'libfaketime',
  variable: 'FAKETIME_PROGRAM',
  candidates: () => onPath('faketime'),
  provides: ['LIBFAKETIME'],
  versionArgs: ['--version'],
  debianPackage: 'faketime',
  advice: 'Set FAKETIME_PROGRAM to the program faketime, which comes with libfaketime; or put it on the PATH; or, on Debian, run the tests as root: they install it by apt-get.',
  start: async (program) => {
    // it knows where its library is
    const { stdout } = await promisify(execFile)(program, ['1 second ago', 'printenv', 'LD_PRELOAD'])
    return { env: { LIBFAKETIME: stdout.trim() }, stop: async () => {} }
  }
}
