// Reads [{policies, resourcePolicy, action, resource, account, principal, context}] from standard input and prints a list
// of words: Allowed, ImplicitlyDenied, ExplicitlyDenied, or what is wrong with the row.
import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const EVERYTHING = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }

async function decide(row) {
  const simulation = {
    identityPolicies: row.policies.map((policy, number) => ({ name: `policy${number}`, policy })),
    serviceControlPolicies: [{ orgIdentifier: 'o-1', policies: [{ name: 'everything', policy: EVERYTHING }] }],
    resourceControlPolicies: [],
    resourcePolicy: row.resourcePolicy ?? undefined,
    request: {
      principal: row.principal,
      action: row.action,
      resource: { resource: row.resource, accountId: row.account },
      contextVariables: row.context,
    },
  }
  const answer = await runSimulation(simulation, {})
  return answer.resultType === 'error' ? JSON.stringify(answer.errors) : answer.overallResult
}

const rows = JSON.parse(readFileSync(0, 'utf8'))
console.log(JSON.stringify(await Promise.all(rows.map(decide))))
