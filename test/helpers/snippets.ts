import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import ts from 'typescript'

/** The code blocks of a page whose first line names a file, by that name. */
export function snippetsOf (page: string, language = 'ts'): Map<string, string> {
  return new Map(Array.from(page.matchAll(new RegExp(`\`\`\`${language}\\n// (\\S+)\\n([\\s\\S]+?)\`\`\``, 'g')), ([, name, code]) => [name!, code!]))
}

/** As NestJS needs them; they change nothing where there are none. */
const decorators = { experimentalDecorators: true, emitDecoratorMetadata: true }

interface Test { teardown (end: () => void): void }

/**
 * Writes snippets into a folder below `dist`, where the package finds itself by its own name, and compiled beside them.
 * The folder ends with the tests.
 */
export function writeSnippets (t: Test, name: string, snippets: ReadonlyMap<string, string>): string {
  const folder = join('dist', name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  for (const [file, code] of snippets) {
    writeFileSync(join(folder, file), code)
    const { outputText } = ts.transpileModule(code, { fileName: file, compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, jsx: ts.JsxEmit.ReactJSX, ...decorators } })
    writeFileSync(join(folder, file.replace(/tsx?$/, 'js')), outputText)
  }
  return folder
}

/** Parsed once for all programs of a test: most of a program is the declarations of libraries. */
const parsed = new Map<string, ts.SourceFile | undefined>()

function cachingHost (options: ts.CompilerOptions): ts.CompilerHost {
  const host = ts.createCompilerHost(options)
  const { getSourceFile } = host
  host.getSourceFile = (file, ...rest) => {
    if (!file.includes('node_modules')) return getSourceFile(file, ...rest)
    if (!parsed.has(file)) parsed.set(file, getSourceFile(file, ...rest))
    return parsed.get(file)
  }
  return host
}

/** The compiler's errors about files of a folder, as a user's strict configuration has them; none if the types are right. */
export function typeErrors (folder: string, files: Iterable<string>, isOfPage = false): string[] {
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2023,
    ...isOfPage && { lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'], jsx: ts.JsxEmit.ReactJSX },
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    ...decorators,
    noEmit: true,
    skipLibCheck: true,
    types: ['node']
  }
  const program = ts.createProgram(Array.from(files, (name) => join(folder, name)), options, cachingHost(options))
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

/** The compiler's errors about a folder that has a `tsconfig.json`, each with the name of the file. */
export function projectErrors (folder: string): string[] {
  const path = resolve(folder, 'tsconfig.json')
  const { config, error } = ts.readConfigFile(path, ts.sys.readFile) as { config: unknown, error?: ts.Diagnostic }
  const { options, fileNames, errors } = ts.parseJsonConfigFileContent(config, ts.sys, resolve(folder))
  const program = ts.createProgram(fileNames, options, cachingHost(options))
  return [...error === undefined ? [] : [error], ...errors, ...ts.getPreEmitDiagnostics(program)]
    .map(({ file, messageText }) => `${file === undefined ? '' : relative(resolve(folder), file.fileName)}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`)
}
