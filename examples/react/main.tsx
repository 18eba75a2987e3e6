import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Board } from './board.tsx'
import { Cursors } from './cursors.tsx'
import { Header } from './header.tsx'
import { Provider } from './hooks.ts'

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <Provider options={{}}>
      <Header />
      <Cursors>
        <Board />
      </Cursors>
    </Provider>
  </StrictMode>
)
