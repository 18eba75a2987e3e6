// npm run bench:compare REF [part...]: compares the benchmarks of this tree with those of another commit, in alternating
// runs. It builds both in temporary worktrees, so that neither this tree nor its dist changes.
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const ROUNDS = 3
const PARTS = ['micro', 'echo', 'fanout', 'live']
const repository = execFileSync('git', ['rev-parse', '--show-toplevel'], { encoding: 'utf8' }).trim()
const [ref, ...asked] = process.argv.slice(2)
if (ref === undefined) throw new Error('usage: npm run bench:compare REF [part...]')
const unknown = asked.find((part) => !PARTS.includes(part))
if (unknown !== undefined) throw new Error(`there is no "${unknown}"; there are ${PARTS.join(', ')}`)
const parts = asked.length > 0 ? asked : PARTS

const trees = []
const folder = mkdtempSync(join(tmpdir(), 'datasole-bench-'))
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    remove()
    process.exit(1)
  })
}
try {
  const there = checkOut('there', ref)
  const here = checkOut('here', snapshot())
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
      if (theirs.length !== ours.length) continue // only one of the two trees measures it
      const ratios = ours.map((value, i) => value / theirs[i]).sort((a, b) => a - b)
      console.log(`| ${name} | ${median(theirs)} | ${median(ours)} | ${median(ratios).toFixed(2)} | ${ratios[0].toFixed(2)}–${ratios.at(-1).toFixed(2)} |`)
    }
  }
} finally {
  remove()
}

/** Runs git in the repository. Returns its output. */
function git (args, env = {}) {
  return execFileSync('git', args, { cwd: repository, env: { ...process.env, ...env }, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim()
}

/** Commits this tree, including uncommitted changes and new files. It uses a separate index. */
function snapshot () {
  const env = { GIT_INDEX_FILE: join(folder, 'index') }
  git(['read-tree', 'HEAD'], env)
  git(['add', '--all'], env)
  return git(['-c', 'user.name=bench', '-c', 'user.email=bench@localhost', 'commit-tree', git(['write-tree'], env), '-p', 'HEAD', '-m', 'bench'])
}

/** Checks a commit out in a worktree, and builds it. */
function checkOut (name, commit) {
  const tree = join(folder, name)
  git(['worktree', 'add', '--detach', '--quiet', tree, commit])
  trees.push(tree)
  // uses the packages of this tree, so a commit with other dependencies must be compared by hand
  symlinkSync(join(repository, 'node_modules'), join(tree, 'node_modules'))
  for (const args of [['tsc', '--', '-p', '.'], ['--if-present', 'bundle:client']]) execFileSync('npm', ['run', ...args], { cwd: tree, stdio: ['ignore', 'ignore', 'inherit'] })
  return tree
}

function remove () {
  for (const tree of trees) git(['worktree', 'remove', '--force', tree])
  rmSync(folder, { recursive: true, force: true })
}

/**
 * Runs a benchmark. Returns the rows that `dist/bench/run.js` prints: a name, and datasole's figure in the next column.
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
