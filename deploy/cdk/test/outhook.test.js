// Synthesises a stack with the construct from the template as it stands, and holds that what comes out is that template.

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { test } = require('node:test');
const { App, Fn, Stack } = require('aws-cdk-lib');
const { Outhook } = require('../lib');

// What `sam package --use-json` has written, or the same without a bucket; `.ci/check-deploy` makes one.
const packagedTemplate = process.env.PACKAGED_TEMPLATE;
assert.ok(packagedTemplate, 'PACKAGED_TEMPLATE names the packaged template');
const source = JSON.parse(readFileSync(packagedTemplate, 'utf8'));

function synthesised(parameters, stackName = 'outhook') {
  const stack = new Stack(new App(), 'Stack', { stackName });
  const outhook = new Outhook(stack, 'Outhook', { packagedTemplate, parameters });
  const template = stack.node.root.synth().getStackByName(stackName).template;
  return { outhook, template };
}

test('what is synthesised is the template, with its transform, rules, conditions and outputs', () => {
  const { outhook, template } = synthesised({});
  assert.deepEqual(template.Transform, 'AWS::Serverless-2016-10-31');
  for (const name of ['Parameters', 'Rules', 'Conditions', 'Globals', 'Resources', 'Outputs']) {
    const { BootstrapVersion, CheckBootstrapVersion, ...found } = template[name];
    assert.deepEqual(found, source[name], name);
  }
  assert.ok(outhook.apiUrl && outhook.eventsQueueArn);
});

test('parameters take their places, so that a value that changes is a change of the functions', () => {
  const parameters = { LogLevel: 'DEBUG', RetentionDays: '7', VpcSubnetIds: 'subnet-1, subnet-2', DomainName: 'hooks.example.com' };
  const { template } = synthesised(parameters);
  const { LoggingConfig, Environment, VpcConfig } = template.Globals.Function;
  assert.equal(LoggingConfig.ApplicationLogLevel, 'DEBUG');
  assert.equal(Environment.Variables.RETENTION_DAYS, 7);
  assert.deepEqual(VpcConfig['Fn::If'][1].SubnetIds, ['subnet-1', 'subnet-2']);
  assert.deepEqual(template.Outputs.ApiUrl.Value['Fn::If'][1], { 'Fn::Sub': 'https://hooks.example.com' });
  for (const name of Object.keys(parameters)) {
    assert.ok(!JSON.stringify(template).includes(`{"Ref":"${name}"}`), name);
    assert.equal(template.Parameters[name], undefined);
  }
});

test('names that are too long and values that are not known are refused', () => {
  assert.throws(() => synthesised({}, 'o'.repeat(49)), /48 characters/);
  assert.throws(() => synthesised({ LogLevel: Fn.ref('Other') }), /LogLevel must be known/);
  assert.throws(() => synthesised({ NoSuch: 'x' }), /no parameter NoSuch/);
  for (const [name, value] of [['LogLevel', 'LOUD'], ['RetentionDays', '0'], ['RetentionDays', ''], ['AllowedRanges', '10.0.0.0'], ['VpcSubnetIds', 'a']]) {
    assert.throws(() => synthesised({ [name]: value }), new RegExp(`${name} is`), `${name}=${value}`);
  }
});
