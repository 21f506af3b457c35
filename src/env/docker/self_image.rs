//! Images made of this very program: the pause container's, and the web server's.
//!
//! Imported as a stream, so that no registry is needed and no image stands in memory. Deliberately never removed: the next start wants them again.

use bollard::query_parameters::{CreateImageOptions, TagImageOptions};
use futures::StreamExt;

use super::{DockerRuntime, errors};
use crate::env::runtime::PullError;

impl DockerRuntime {
    /// Makes an image of the program with that entry point, if the engine does not have it yet. Returns its full name,
    /// `<name>:<tag>`, whose tag changes with the program.
    pub async fn ensure_self_image(
        &self,
        name: &str,
        entrypoint: &[String],
    ) -> Result<String, PullError> {
        let unreadable = |error: std::io::Error| PullError::Unavailable(error.to_string());
        let program = &self.options.program;
        let tag = program.tag(entrypoint).map_err(unreadable)?;
        let full = format!("{name}:{tag}");
        if self.docker.inspect_image(&full).await.is_ok() {
            return Ok(full);
        }
        let words = serde_json::json!(entrypoint);
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(name.to_owned()),
            tag: Some(tag),
            changes: vec![format!("ENTRYPOINT {words}")],
            ..CreateImageOptions::default()
        };
        let body = bollard::body_try_stream(futures::stream::iter(program.tar()));
        let mut progress = self.docker.create_image(Some(options), Some(body), None);
        while let Some(step) = progress.next().await {
            step.map_err(|error| PullError::Unavailable(errors::text(&error)))?;
        }
        Ok(full)
    }

    /// Gives an image one more tag; one that has it already loses it.
    pub async fn name_image(&self, image: &str, name: &str, tag: &str) -> Result<(), PullError> {
        let options = TagImageOptions {
            repo: Some(name.to_owned()),
            tag: Some(tag.to_owned()),
        };
        let named = self.docker.tag_image(image, Some(options)).await;
        named.map_err(|error| PullError::Unavailable(errors::text(&error)))
    }
}
