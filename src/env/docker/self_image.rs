//! Images made of this very program: the pause container's, and the web server's.
//!
//! Imported as a stream, so that no registry is needed and no image stands in memory. The newest stays, because the next
//! start wants it again; those that it replaces go, once no container uses them. Deliberately blind to images without
//! this program's label.

use bollard::errors::Error;
use bollard::models::ImageSummary;
use bollard::query_parameters::{
    CreateImageOptions, ListContainersOptions, ListImagesOptions, RemoveImageOptions,
    TagImageOptions,
};
use futures::StreamExt;
use tracing::warn;

use super::{DockerRuntime, errors, labels};
use crate::agent::render::fingerprint;
use crate::env::runtime::PullError;

impl DockerRuntime {
    /// Makes an image of the program with that entry point, if the engine does not have it yet, and removes those that
    /// it replaces. Returns its full name, `<name>:<tag>`, whose tag changes with the program.
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
        let content = program.content(entrypoint).map_err(unreadable)?;
        let made_as = format!("{name}.{:016x}", fingerprint(&entrypoint));
        let earlier = self.self_images(&made_as).await.map_err(refused)?;
        let is_same = |image: &&ImageSummary| image.labels.get(labels::CONTENT) == Some(&content);
        if let Some(same) = earlier.iter().find(is_same) {
            self.name_image(&same.id, name, &tag).await?;
            return Ok(full);
        }
        let changes = [
            format!("ENTRYPOINT {}", serde_json::json!(entrypoint)),
            format!(
                "LABEL {}={made_as} {}={content}",
                labels::SELF,
                labels::CONTENT
            ),
        ];
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(name.to_owned()),
            tag: Some(tag),
            changes: changes.into(),
            ..CreateImageOptions::default()
        };
        let body = bollard::body_try_stream(futures::stream::iter(program.tar()));
        let mut progress = self.docker.create_image(Some(options), Some(body), None);
        while let Some(step) = progress.next().await {
            step.map_err(refused)?;
        }
        for replaced in &earlier {
            if let Err(error) = self.remove_unused(replaced).await {
                // It costs space and nothing else; the next that is made tries again.
                let error = errors::text(&error);
                warn!(image = replaced.id, error, "a replaced image stays");
            }
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
        named.map_err(refused)
    }

    /// What was made as that, by any build.
    async fn self_images(&self, made_as: &str) -> Result<Vec<ImageSummary>, Error> {
        let filters = [(
            "label".to_owned(),
            vec![format!("{}={made_as}", labels::SELF)],
        )];
        let options = ListImagesOptions {
            filters: Some(filters.into_iter().collect()),
            ..ListImagesOptions::default()
        };
        self.docker.list_images(Some(options)).await
    }

    /// Removes an image with all of its names, unless a container is made of it, running or not.
    async fn remove_unused(&self, image: &ImageSummary) -> Result<(), Error> {
        let filters = [("ancestor".to_owned(), vec![image.id.clone()])];
        let options = ListContainersOptions {
            all: true,
            filters: Some(filters.into_iter().collect()),
            ..ListContainersOptions::default()
        };
        let users = self.docker.list_containers(Some(options)).await?;
        if !users.is_empty() {
            return Ok(());
        }
        // The engine removes by id only what has no second name. What has none is called that.
        let names = image
            .repo_tags
            .iter()
            .filter(|name| !name.contains("<none>"));
        let mut names: Vec<_> = names.collect();
        if names.is_empty() {
            names.push(&image.id);
        }
        for name in names {
            let options = RemoveImageOptions::default();
            match self.docker.remove_image(name, Some(options), None).await {
                // Another start was faster, or a container of it came meanwhile.
                Err(error) if errors::is_missing(&error) || errors::is_already(&error) => {}
                removed => drop(removed?),
            }
        }
        Ok(())
    }
}

fn refused(error: Error) -> PullError {
    PullError::Unavailable(errors::text(&error))
}
