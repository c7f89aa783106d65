// Outhook as a construct: takes the packaged SAM template into the stack and puts the parameters into their places. What the stack is stands in the
// template, and nowhere here.

import { readFileSync } from 'node:fs';
import { CfnElement, Stack, Token } from 'aws-cdk-lib';
import { Construct } from 'constructs';

/** The longest name of a function has 64 characters (AWS Lambda quotas), and `-deliver-retries` is the longest ending. */
const STACK_NAME_CHARACTERS_MAX = 64 - '-deliver-retries'.length;

/** A part of a template. */
type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

/** A parameter as the template declares it. */
interface Declared {
  readonly Type: string;
  readonly AllowedPattern?: string;
  readonly AllowedValues?: (string | number)[];
  readonly MinValue?: number;
  readonly MaxValue?: number;
}

export interface OuthookProps {
  /** The template that `sam package --use-json --output-template-file` has written, with the programs in S3. */
  readonly packagedTemplate: string;
  /** Parameters of the template; docs/configuration.md explains them. Values are known when the app is synthesised, not tokens. */
  readonly parameters?: Readonly<Record<string, string>>;
}

/** The whole of Outhook. Its names are made from the stack's name, so it wants a stack of its own. */
export class Outhook extends Construct {
  /** Where the API answers. */
  readonly apiUrl: string;
  /** The queue that takes events from backends with AWS credentials. */
  readonly eventsQueueUrl: string;
  /** The same, for the policies of those backends (`sqs:SendMessage`). */
  readonly eventsQueueArn: string;
  /** The queue of what could not be handled. */
  readonly deadLetterQueueUrl: string;
  /** The table. */
  readonly tableName: string;
  /** The secret with the root key of the API. */
  readonly rootKeySecretName: string;

  constructor(scope: Construct, id: string, props: OuthookProps) {
    super(scope, id);
    const { stackName } = Stack.of(this);
    if (stackName.length > STACK_NAME_CHARACTERS_MAX) {
      throw new Error(`the stack's name may have ${STACK_NAME_CHARACTERS_MAX} characters, and ${stackName} has ${stackName.length}`);
    }
    const template = JSON.parse(readFileSync(props.packagedTemplate, 'utf8'));
    const declared: Record<string, Declared> = template.Parameters;
    const values = new Map(
      Object.entries(props.parameters ?? {}).map(([name, value]) => [name, checked(name, value, declared[name])] as const),
    );
    for (const name of values.keys()) {
      delete template.Parameters[name];
    }
    const filled = fill(template, values) as { [section: string]: { [name: string]: { Value: Json } } };
    new Fragment(this, 'Template', filled);
    const output = (name: string): string => Token.asString(filled['Outputs']?.[name]?.Value);
    this.apiUrl = output('ApiUrl');
    this.eventsQueueUrl = output('EventsQueueUrl');
    this.eventsQueueArn = output('EventsQueueArn');
    this.deadLetterQueueUrl = output('DeadLetterQueueUrl');
    this.tableName = output('TableName');
    this.rootKeySecretName = output('RootKeySecretName');
  }
}

/** A value as CloudFormation would have it for a parameter; CloudFormation itself no longer sees that it was one. */
function checked(name: string, value: string, declared: Declared | undefined): Json {
  if (declared === undefined) {
    throw new Error(`the template has no parameter ${name}`);
  }
  if (Token.isUnresolved(value)) {
    throw new Error(`the value of ${name} must be known when the app is synthesised`);
  }
  const number = Number(value);
  const parts = declared.Type === 'CommaDelimitedList' ? value.split(',').map((part) => part.trim()) : [value];
  const pattern = new RegExp(declared.AllowedPattern ?? '');
  const fits =
    parts.every((part) => pattern.test(part)) &&
    (declared.AllowedValues?.some((allowed) => String(allowed) === value) ?? true) &&
    (declared.Type !== 'Number' || (value.trim() !== '' && number >= (declared.MinValue ?? -Infinity) && number <= (declared.MaxValue ?? Infinity)));
  if (!fits) {
    throw new Error(`${name} is ${JSON.stringify(value)}, which is not what the template allows: ${JSON.stringify(declared)}`);
  }
  return declared.Type === 'CommaDelimitedList' ? parts : declared.Type === 'Number' ? number : value;
}

/** The template with values in the places of parameters. So SAM sees a parameter that changes, and publishes a new version of the functions. */
function fill(part: Json, values: ReadonlyMap<string, Json>): Json {
  if (Array.isArray(part)) {
    return part.map((item) => fill(item, values));
  }
  if (part === null || typeof part !== 'object') {
    return part;
  }
  const { Ref: reference, 'Fn::Sub': pattern } = part;
  if (typeof reference === 'string' && values.has(reference)) {
    return values.get(reference) as Json;
  }
  if (typeof pattern === 'string') {
    return { 'Fn::Sub': pattern.replace(/\$\{(\w+)\}/g, (whole, name) => String(values.get(name) ?? whole)) };
  }
  return Object.fromEntries(Object.entries(part).map(([name, item]) => [name, fill(item, values)]));
}

/** A part of the stack's template that is there already. `CfnInclude` reads what CloudFormation has, and SAM has more: references to what it will make. */
class Fragment extends CfnElement {
  constructor(
    scope: Construct,
    id: string,
    private readonly fragment: object,
  ) {
    super(scope, id);
  }

  /** What the CDK asks of every element when it writes the template. */
  public _toCloudFormation(): object {
    return this.fragment;
  }
}
