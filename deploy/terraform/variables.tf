variable "packaged_template" {
  description = "Path of the template that `sam package --use-json --output-template-file` has written, with the programs in S3."
  type        = string
}

variable "template_bucket" {
  description = "Name of the S3 bucket in the same region that the template is put into."
  type        = string
}

variable "stack_name" {
  description = "Name of the stack; the names of everything in it begin with it."
  type        = string
  default     = "outhook"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,47}$", var.stack_name))
    error_message = "stack_name must begin with a letter and have at most 48 letters, digits and hyphens, because functions are named by it."
  }
}

variable "parameters" {
  description = "Parameters of the template; docs/configuration.md explains them."
  type        = map(string)
  default     = {}
}

variable "tags" {
  description = "Tags of the stack and everything in it."
  type        = map(string)
  default     = {}
}
