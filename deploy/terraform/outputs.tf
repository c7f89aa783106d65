output "api_url" {
  description = "Where the API answers."
  value       = aws_cloudformation_stack.outhook.outputs["ApiUrl"]
}

output "events_queue_url" {
  description = "The queue that takes events from backends with AWS credentials."
  value       = aws_cloudformation_stack.outhook.outputs["EventsQueueUrl"]
}

output "events_queue_arn" {
  description = "The same, for the policies of those backends (sqs:SendMessage)."
  value       = aws_cloudformation_stack.outhook.outputs["EventsQueueArn"]
}

output "dead_letter_queue_url" {
  description = "The queue of what could not be handled."
  value       = aws_cloudformation_stack.outhook.outputs["DeadLetterQueueUrl"]
}

output "table_name" {
  description = "The table."
  value       = aws_cloudformation_stack.outhook.outputs["TableName"]
}

output "root_key_secret_name" {
  description = "The secret with the root key of the API."
  value       = aws_cloudformation_stack.outhook.outputs["RootKeySecretName"]
}

output "template_key" {
  description = "Key of the template in its bucket."
  value       = aws_s3_object.template.key
}
