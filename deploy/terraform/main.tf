# Outhook as a module: puts the packaged SAM template into a bucket and makes a CloudFormation stack of it. What the stack is stands in the template,
# and nowhere here.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

locals {
  # SAM publishes a new version of a function when one of its properties changes, but takes a parameter whose value changes for no change. A digest of
  # the parameters in the functions' descriptions makes it one.
  digest   = substr(sha256(jsonencode(var.parameters)), 0, 12)
  template = replace(file(var.packaged_template), "parameters unstamped", "parameters ${local.digest}")
}

# The template is larger than CloudFormation takes within a request.
resource "aws_s3_object" "template" {
  bucket  = var.template_bucket
  key     = "${var.stack_name}/${sha256(local.template)}.template"
  content = local.template
}

resource "aws_cloudformation_stack" "outhook" {
  name         = var.stack_name
  template_url = "https://${data.aws_s3_bucket.template.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
  parameters   = var.parameters
  tags         = var.tags
  # A new version of the functions takes over step by step, which takes ten minutes unless DeploymentType says otherwise.
  timeouts {
    create = "30m"
    update = "60m"
    delete = "30m"
  }
}

data "aws_s3_bucket" "template" {
  bucket = var.template_bucket
}
