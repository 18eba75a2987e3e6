import { readFileSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import t from 'tap'
import ts from 'typescript'

// from the repository's root: the sources, which have the docstrings of the declarations as well
const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as { exports: Record<string, string | { default: string }> }
const entries = Object.values(exports)
  .map((entry) => typeof entry === 'string' ? entry : entry.default)
  .filter((path) => path.startsWith('./dist/') && !path.startsWith('./dist/test/'))
  .map((path) => path.replace('./dist/', '').replace(/\.js$/, '.ts'))

/** Nothing is type-checked, so that no library has to be parsed. */
function programOf (files: string[]): ts.Program {
  const options: ts.CompilerOptions = { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, noLib: true, types: [] }
  const host = ts.createCompilerHost(options, true)
  const { fileExists } = host
  host.fileExists = (file) => !file.includes('node_modules') && fileExists(file)
  return ts.createProgram(files, options, host)
}

type Members = ts.ClassDeclaration | ts.InterfaceDeclaration | ts.TypeLiteralNode

const hasDocstring = (node: ts.Node): boolean => ts.getJSDocCommentsAndTags(node).length > 0
const hasMembers = (node: ts.Node): node is Members => ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node) || ts.isTypeLiteralNode(node)

function isPublic (member: ts.ClassElement | ts.TypeElement): member is (ts.ClassElement | ts.TypeElement) & { name: ts.PropertyName } {
  if (member.name === undefined || ts.isPrivateIdentifier(member.name)) return false
  // the docstring of what a member overrides is its own
  const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected | ts.ModifierFlags.Override
  return (ts.getCombinedModifierFlags(member) & hidden) === 0 && !ts.getJSDocTags(member).some(({ tagName }) => tagName.text === 'internal')
}

type Callable = ts.FunctionDeclaration | ts.MethodDeclaration | ts.MethodSignature

const isCallable = (node: ts.Node): node is Callable => ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node) || ts.isMethodSignature(node)

/** Names that have a `@param`: `options.limit` is about `limit`. */
function describedBy (node: ts.Node): Set<string> {
  return new Set(ts.getJSDocCommentsAndTags(node).flatMap((doc) => Array.from(doc.getText().matchAll(/@param (?:\w+\.)?(\w+)/g), ([, name]) => name!)))
}

/** Whether a function throws an error with a code itself, outside of the functions inside it. */
function throwsCoded (node: ts.Node): boolean {
  if (ts.isThrowStatement(node)) return /\b(DatasoleError\(|invalidArgument\(|coded\()/.test(node.expression.getText())
  return !ts.isFunctionLike(node) && ts.forEachChild(node, throwsCoded) === true
}

/** The public members of the package, and those that lack something. */
class Surface {
  readonly missing = new Set<string>()
  readonly throwing = new Set<string>()
  /** Functions with parameters without `@param`, by place. */
  readonly parameters = new Map<string, string[]>()
  total = 0
  readonly #checker: ts.TypeChecker
  readonly #seen = new Set<ts.Node>()

  constructor (program: ts.Program) {
    this.#checker = program.getTypeChecker()
    for (const entry of entries) {
      const module = this.#checker.getSymbolAtLocation(program.getSourceFile(entry)!)
      for (const symbol of this.#checker.getExportsOfModule(module!)) this.#exported(this.#target(symbol))
    }
  }

  #target (symbol: ts.Symbol): ts.Symbol {
    return (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : this.#checker.getAliasedSymbol(symbol)
  }

  #exported (symbol: ts.Symbol): void {
    const { declarations = [] } = symbol
    if (declarations.length === 0) return // it is another package's
    this.#check(declarations, symbol.name)
    for (const declaration of declarations) {
      if (ts.isFunctionDeclaration(declaration)) this.#checkThrows(declaration, symbol.name)
      if (ts.isFunctionDeclaration(declaration)) this.#checkParameters([declaration], symbol.name)
      if (hasMembers(declaration)) this.#walk(declaration, symbol.name)
    }
  }

  /** One of the declarations has to have a docstring: that of a variable is at its statement. */
  #check (declarations: ts.Declaration[], name: string): void {
    this.total++
    if (!declarations.some(hasDocstring)) this.missing.add(this.#at(declarations[0]!, name))
  }

  #checkThrows (node: ts.FunctionLikeDeclaration, name: string): void {
    if (node.body === undefined || ts.forEachChild(node.body, throwsCoded) !== true) return
    // those of overloads are at the first
    const symbol = this.#checker.getSymbolAtLocation(node.name!)
    if (!(symbol?.declarations ?? [node]).some((each) => ts.getJSDocCommentsAndTags(each).some((doc) => /@throws|\bthrows?\b/.test(doc.getText())))) this.throwing.add(this.#at(node, name))
  }

  /** Each parameter has a `@param` at one of the overloads, or at the method of an interface that this one implements. */
  #checkParameters (overloads: Callable[], name: string, implemented: ts.Declaration[] = []): void {
    const described = new Set([...overloads, ...implemented].flatMap((each) => [...describedBy(each)]))
    const all = new Set(overloads.flatMap(({ parameters }) => parameters.flatMap((each) => this.#namesOf(each))))
    const lacking = [...all].filter((parameter) => !described.has(parameter) && !parameter.startsWith('_'))
    if (lacking.length > 0) this.parameters.set(this.#at(overloads[0]!, name), lacking)
  }

  /** The name of a parameter; of a destructured one, the members that have no docstring in their type. */
  #namesOf ({ name, type }: ts.ParameterDeclaration): string[] {
    if (ts.isIdentifier(name)) return [name.text]
    const members = type === undefined ? undefined : this.#checker.getTypeFromTypeNode(type)
    return name.elements.flatMap((element) => {
      if (!ts.isBindingElement(element)) return []
      const own = (element.propertyName ?? element.name).getText()
      return members?.getProperty(own)?.declarations?.some(hasDocstring) === true ? [] : [own]
    })
  }

  /** The declarations of a member in the classes and interfaces below which a declaration stands, `Partial<…>` included. */
  #implementedBy (declaration: Members, own: string): ts.Declaration[] {
    if (ts.isTypeLiteralNode(declaration)) return []
    const names = (declaration.heritageClauses ?? []).flatMap(({ types }) => types.flatMap(({ expression, typeArguments = [] }) =>
      [expression, ...typeArguments.flatMap((type) => ts.isTypeReferenceNode(type) ? [type.typeName] : [])]))
    return names.flatMap((name) => {
      const symbol = this.#checker.getSymbolAtLocation(name)
      const parents = (symbol === undefined ? [] : this.#target(symbol).declarations ?? []).filter(hasMembers)
      return parents.flatMap((parent) => [...(parent.members as ts.NodeArray<ts.ClassElement | ts.TypeElement>).filter((member) => member.name?.getText() === own), ...this.#implementedBy(parent, own)])
    })
  }

  #walk (declaration: Members, name: string): void {
    if (this.#seen.has(declaration)) return
    this.#seen.add(declaration)
    const byName = new Map<string, ts.Declaration[]>()
    for (const member of declaration.members as ts.NodeArray<ts.ClassElement | ts.TypeElement>) {
      if (!isPublic(member)) continue
      const own = member.name.getText()
      byName.set(own, [...byName.get(own) ?? [], member])
      if (ts.isMethodDeclaration(member)) this.#checkThrows(member, `${name}.${own}`)
      if ((ts.isPropertySignature(member) || ts.isPropertyDeclaration(member)) && member.type !== undefined) this.#follow(member.type, `${name}.${own}`)
    }
    // the docstring of a member is about the members of its literal type as well
    if (ts.isTypeLiteralNode(declaration)) return
    for (const [own, members] of byName) {
      this.#check(members, `${name}.${own}`)
      this.#checkParameters(members.filter(isCallable), `${name}.${own}`, this.#implementedBy(declaration, own))
    }
    for (const { types } of declaration.heritageClauses ?? []) for (const { expression } of types) this.#reach(expression)
  }

  /** Users reach the members of a property's class, too, where nothing exports it. */
  #follow (type: ts.TypeNode, name: string): void {
    if (ts.isTypeLiteralNode(type)) this.#walk(type, name)
    else if (ts.isTypeReferenceNode(type)) this.#reach(type.typeName)
  }

  #reach (node: ts.Node): void {
    const symbol = this.#checker.getSymbolAtLocation(node)
    for (const declaration of symbol === undefined ? [] : this.#target(symbol).declarations ?? []) {
      if (hasMembers(declaration)) this.#walk(declaration, symbol!.name)
    }
  }

  #at (node: ts.Node, name: string): string {
    const file = node.getSourceFile()
    return `${relative(resolve('.'), resolve(file.fileName))}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${name}`
  }
}

t.test('docstrings: every public member has one, with its parameters and what it throws', async (t) => {
  const { missing, throwing, parameters, total } = new Surface(programOf(entries))
  t.ok(total > 800, `${total} public members`)
  t.strictSame([...missing].sort(), [], 'without a docstring')
  t.strictSame([...throwing].sort(), [], 'without @throws')
  t.strictSame(Array.from(parameters, ([place, names]) => `${place}: ${names.join(', ')}`).sort(), [], 'without @param')
})
