/** Imports a package of bench/package.json, by the rules of `import` and from this folder. */
export default (name) => import(name)
