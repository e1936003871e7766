# From preprocessed images to the weights of every stage.


rule pack:
    input:
        ancient(layout.training_images("{training_set}")),
    output:
        packed=layout.packed("{training_set}"),
        index=layout.packed_index("{training_set}"),
    log:
        layout.log("pack", "{training_set}"),
    benchmark:
        layout.benchmark("pack", "{training_set}")
    # Before registrations that do not wait for it: most of the run waits for training.
    priority: 1
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(240),
    params:
        results=results_folder,
    shell:
        "cohortreg pack {params.results:q} --training-set {wildcards.training_set:q} 2>&1 | tee {log:q}"


rule train:
    input:
        unpack(training_input),
        settings=train_settings,
        previous=previous_weights,
    output:
        weights=layout.weights("{model}", "{stage}"),
        card=layout.model_card("{model}", "{stage}"),
        history=layout.history("{model}", "{stage}"),
    log:
        layout.log("train", "{model}-{stage}"),
    benchmark:
        layout.benchmark("train", "{model}-{stage}")
    priority: 1
    conda:
        ENVIRONMENT
    threads: settings.threads.train
    resources:
        mem_mb=more(8000),
        # No more at a retry: it goes on from the last checkpoint.
        runtime=1440,
        # Minutes after which it writes a checkpoint and ends, to be tried again; 0: when it is done.
        stop_after=0,
    params:
        settings=str(layout.settings("train", "{model}-{stage}")),
        results=results_folder,
        seed=settings.seed,
        launcher=launcher,
    shell:
        "{params.launcher}cohortreg train {params.results:q} --model {wildcards.model:q} --stage {wildcards.stage:q}"
        " --settings {params.settings:q} --seed {params.seed:q} --threads {threads:q}"
        " --minutes {resources.stop_after:q} 2>&1 | tee {log:q}"
