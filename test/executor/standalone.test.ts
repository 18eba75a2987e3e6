import t from 'tap'
import { entrances } from '../helpers/entrances.js'
import { suite } from './suite.js'

suite(t, entrances[1]![1])
