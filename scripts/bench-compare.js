// npm run bench:compare REF [part...]: this tree beside another commit, the benchmarks of both in turn.
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const ROUNDS = 3
const PARTS = ['micro', 'echo', 'fanout', 'live']
const here = process.cwd()
const [ref, ...asked] = process.argv.slice(2)
if (ref === undefined) throw new Error('usage: npm run bench:compare REF [part...]')
const unknown = asked.find((part) => !PARTS.includes(part))
if (unknown !== undefined) throw new Error(`there is no "${unknown}"; there are ${PARTS.join(', ')}`)
const parts = asked.length > 0 ? asked : PARTS

const folder = mkdtempSync(join(tmpdir(), 'datasole-bench-'))
const there = join(folder, 'tree')
execFileSync('git', ['worktree', 'add', '--detach', there, ref], { stdio: ['ignore', 'ignore', 'inherit'] })
try {
  // the packages of this tree: a commit with other dependencies has to be compared by hand
  symlinkSync(join(here, 'node_modules'), join(there, 'node_modules'))
  for (const tree of [there, here]) execFileSync('npm', ['run', 'tsc', '--', '-p', '.'], { cwd: tree, stdio: ['ignore', 'ignore', 'inherit'] })
  for (const part of parts) {
    /** @type {Map<string, { theirs: number[], ours: number[] }>} */
    const figures = new Map()
    for (let round = 0; round < ROUNDS; round++) {
      for (const [side, tree] of [['theirs', there], ['ours', here]]) {
        for (const [name, value] of await run(tree, part)) {
          if (!figures.has(name)) figures.set(name, { theirs: [], ours: [] })
          figures.get(name)[side].push(value)
        }
      }
    }
    console.log(`\n| ${part} | ${ref} | this tree | ratio | of rounds |\n|---|---:|---:|---:|---:|`)
    for (const [name, { theirs, ours }] of figures) {
      if (theirs.length !== ours.length) continue // only one of the two measures it
      const ratios = ours.map((value, i) => value / theirs[i]).sort((a, b) => a - b)
      console.log(`| ${name} | ${median(theirs)} | ${median(ours)} | ${median(ratios).toFixed(2)} | ${ratios[0].toFixed(2)}–${ratios.at(-1).toFixed(2)} |`)
    }
  }
} finally {
  execFileSync('git', ['worktree', 'remove', '--force', there])
  rmSync(folder, { recursive: true })
}

/**
 * The rows that `dist/bench/run.js` prints: a name, and datasole's figure in the first column after it.
 * @returns {Promise<Array<[string, number]>>}
 */
async function run (tree, part) {
  const { stdout } = await promisify(execFile)(process.execPath, ['dist/bench/run.js', part], { cwd: tree, maxBuffer: 2 ** 24 })
  return stdout.split('\n').flatMap((line) => {
    const [, name, value] = /^(\S.*?)\s{2,}([\d.,]+)(?:\s|$)/.exec(line.padEnd(1)) ?? []
    return value === undefined ? [] : [[name, Number(value.replaceAll(',', ''))]]
  })
}

function median (values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}
