import neostandard from 'neostandard'
import tseslint from 'typescript-eslint'

export default [
  { ignores: ['docs/.vitepress/cache', 'docs/.vitepress/dist', 'docs/public', 'dist/', '.tap/', 'coverage/'] },
  ...neostandard({ ts: true }),
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { '@typescript-eslint': tseslint.plugin },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      // tap itself waits for subtests
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafePromises: [{ from: 'package', name: 'PromiseWithSubtest', package: '@tapjs/core' }] }],
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false } }],
      // the compiler finds those, and a constant may share its name with its type
      '@typescript-eslint/no-redeclare': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // `void promise` says that nobody waits for it
      'no-void': ['error', { allowAsStatement: true }]
    }
  },
  {
    files: ['index.ts', 'lib/**/*.ts', 'plugins/**/*.ts'],
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-empty-object-type': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      'no-console': 'error'
    }
  },
  {
    // plugins put methods of others in front of theirs
    files: ['lib/**/*.ts'],
    rules: { '@typescript-eslint/unbound-method': 'error' }
  },
  {
    files: ['test/**/*.ts'],
    ignores: ['test/helpers/until.ts', 'test/client/browser.test.ts', 'test/backend/redis-cluster.test.ts'], // a page has no helpers; the last measures how long it takes
    rules: {
      'no-restricted-syntax': ['error',
        { selector: "FunctionDeclaration[id.name='until']", message: 'test/helpers/until.ts has the one that is bounded and says what it waited for.' },
        { selector: 'WhileStatement > ExpressionStatement.body > AwaitExpression > CallExpression[callee.name=/^(setTimeout|setImmediate|sleep|turns)$/]', message: 'Wait by until() of test/helpers/until.ts, which is bounded.' }
      ]
    }
  }
]
