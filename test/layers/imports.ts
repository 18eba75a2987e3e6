import { posix } from 'node:path'
import ts from 'typescript'

/** Source texts by path from the root, with slashes: `lib/server/connection/hub.ts`. */
export type Sources = ReadonlyMap<string, string>

export interface Import {
  from: string
  /** A path like `from` where it is a file of ours, else as it is written. */
  to: string
  /** `type`: erased by the compiler. `dynamic`: loaded when it is reached. */
  kind: 'static' | 'dynamic' | 'type'
}

/** Everything that a source names of other modules, in whatever syntax. */
export function importsOf (path: string, text: string): Import[] {
  const found: Import[] = []
  const add = (specifier: string, kind: Import['kind']): void => {
    const to = specifier.startsWith('.') ? posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts') : specifier
    found.push({ from: path, to, kind })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      add(textOf(node.moduleSpecifier), node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? 'type' : 'static')
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      add(textOf(node.moduleSpecifier), node.isTypeOnly ? 'type' : 'static')
    } else if (ts.isImportEqualsDeclaration(node) && ts.isExternalModuleReference(node.moduleReference)) {
      add(textOf(node.moduleReference.expression), node.isTypeOnly ? 'type' : 'static')
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(textOf(node.arguments[0]), 'dynamic')
    } else if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'require') {
      add(textOf(node.arguments[0]), 'static')
    } else if (ts.isImportTypeNode(node)) {
      add(ts.isLiteralTypeNode(node.argument) ? textOf(node.argument.literal) : '?', 'type')
    } else if (ts.isModuleDeclaration(node) && ts.isStringLiteral(node.name)) {
      add(node.name.text, 'type')
    }
    ts.forEachChild(node, visit)
  }
  const source = parse(path, text)
  for (const { fileName } of [...source.typeReferenceDirectives, ...source.referencedFiles]) add(fileName, 'type')
  visit(source)
  return found
}

/** A file that only passes on what others export. */
export function isBarrel (path: string, text: string): boolean {
  const { statements } = parse(path, text)
  return statements.length > 0 && statements.every((statement) => ts.isExportDeclaration(statement) && statement.moduleSpecifier !== undefined)
}

function parse (path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest)
}

/** What is no literal cannot be checked; no rule allows a module of this name. */
function textOf (node: ts.Node | undefined): string {
  return node !== undefined && ts.isStringLiteralLike(node) ? node.text : '(computed)'
}
