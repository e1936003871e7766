# From raw images to preprocessed ones, and what is left of the cohort.


# Images that the project makes itself, where the configuration asks for them. No rule names them as its output, or
# Snakemake would delete whatever lies there before it runs.
rule phantom:
    input:
        settings=phantom_settings,
        images=as_it_is(settings.images),
    output:
        layout.phantoms("{shard}"),
    log:
        layout.log("phantom", "{shard}"),
    benchmark:
        layout.benchmark("phantom", "{shard}")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        settings=str(layout.settings("phantom", "{shard}")),
        root=lambda wildcards: root,
        shards=settings.shards.images,
        seed=settings.seed,
    shell:
        "cohortreg phantom {input.images:q} {params.root:q} --settings {params.settings:q} --record {output:q}"
        " --shard {wildcards.shard:q} --shards {params.shards:q} --seed {params.seed:q} 2>&1 | tee {log:q}"


# Not part of all: asked for by its name, before a long run.
rule check:
    input:
        settings=check_settings,
        raw=all_phantoms,
        images=as_it_is(settings.images),
    output:
        layout.check.table,
        layout.check.sheets(len(images)),
    log:
        layout.log("check"),
    benchmark:
        layout.benchmark("check")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000 + len(images) // 8),
        runtime=more(60 + len(images) // 4),
    params:
        settings=str(layout.settings("check")),
        folder=lambda wildcards: layout.check.root,
        root=as_it_is(settings.root),
    shell:
        "cohortreg check {input.images:q} --root {params.root:q} --output {params.folder:q}"
        # Or Snakemake would delete the table that says which images are bad.
        " --settings {params.settings:q} --on-bad-image exclude 2>&1 | tee {log:q}"


rule preprocess:
    input:
        settings=preprocess_settings,
        raw=phantoms,
    output:
        layout.image_shard("{shard}"),
    log:
        layout.log("preprocess", "{shard}"),
    benchmark:
        layout.benchmark("preprocess", "{shard}")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(240),
    params:
        settings=str(layout.settings("preprocess", "{shard}")),
        results=results_folder,
        # Its other rows do not matter, and the settings have a digest of the shard's own.
        images=as_it_is(settings.images),
        root=as_it_is(settings.root),
        shards=settings.shards.images,
        on_bad_image=settings.on_bad_image,
    shell:
        "cohortreg preprocess {params.results:q} --images {params.images:q} --root {params.root:q}"
        " --settings {params.settings:q} --shard {wildcards.shard:q} --shards {params.shards:q}"
        " --on-bad-image {params.on_bad_image:q} 2>&1 | tee {log:q}"


checkpoint cohort:
    input:
        settings=cohort_settings,
        images=as_it_is(settings.images),
        pairs=as_it_is(settings.pairs),
        ratings=as_it_is(settings.ratings),
        shards=[layout.image_shard(shard) for shard in IMAGE_SHARDS],
    output:
        images=layout.images,
        # What is there says which pairs were asked for before.
        pairs=update(layout.pairs),
        excluded=layout.excluded,
        summary=layout.cohort,
        # One that did not change starts no registration: Snakemake compares the content of what a checkpoint wrote.
        # What is there says which pairs a shard had, and stays where it only lost some.
        shards=[update(layout.pair_shard(shard)) for shard in PAIR_SHARDS],
        # What is there says on what a model was trained, and is kept until retraining is asked for.
        training=[update(layout.model_training(model)) for model in MODELS],
    log:
        layout.log("cohort"),
    benchmark:
        layout.benchmark("cohort")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        settings=str(layout.settings("cohort")),
        results=results_folder,
        name=settings.cohort,
        ratings="--ratings" if settings.ratings else "",
    shell:
        "cohortreg cohort {params.results:q} --name {params.name:q} --images {input.images:q}"
        " --pairs {input.pairs:q} {params.ratings} {input.ratings:q} --settings {params.settings:q}"
        " 2>&1 | tee {log:q}"
