import { spawn } from 'node:child_process'

/* Compiles changed files, and restarts the example app. Ctrl-C stops all processes. */
const children = [
  spawn(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.', '--watch', '--preserveWatchOutput'], { stdio: 'inherit' }),
  spawn(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'examples', '--watch', '--preserveWatchOutput'], { stdio: 'inherit' }),
  spawn(process.execPath, ['--watch', 'dist/examples/app.js'], { stdio: 'inherit' })
]
for (const child of children) {
  child.on('exit', () => { for (const other of children) other.kill() })
}
