# `terraform test`: plans the module without an account.

mock_provider "aws" {
  mock_data "aws_s3_bucket" {
    defaults = { bucket_regional_domain_name = "bucket.s3.eu-west-1.amazonaws.com" }
  }
}

variables {
  template_bucket = "bucket"
}

run "stack_of_the_packaged_template" {
  command = plan

  assert {
    condition     = startswith(aws_cloudformation_stack.outhook.template_url, "https://bucket.s3.eu-west-1.amazonaws.com/outhook/")
    error_message = "the stack is made of the template in the bucket"
  }

  assert {
    condition     = !strcontains(aws_s3_object.template.content, "parameters unstamped")
    error_message = "the digest of the parameters stands in the template"
  }

  assert {
    condition     = contains(aws_cloudformation_stack.outhook.capabilities, "CAPABILITY_AUTO_EXPAND")
    error_message = "the template has a transform"
  }
}

run "other_parameters_are_another_template" {
  command = plan

  variables {
    parameters = { LogLevel = "DEBUG" }
  }

  assert {
    condition     = aws_s3_object.template.key != run.stack_of_the_packaged_template.template_key
    error_message = "a parameter that changes makes a new version of the functions"
  }
}

run "name_that_is_too_long" {
  command = plan

  variables {
    stack_name = "ooooooooooooooooooooooooooooooooooooooooooooooooo"
  }

  expect_failures = [var.stack_name]
}
